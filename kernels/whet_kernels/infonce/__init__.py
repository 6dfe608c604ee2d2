"""InfoNCE without the matrix of all similarities."""
