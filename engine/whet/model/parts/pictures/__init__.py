"""Models of pictures: how a picture becomes their input, and where they are found."""
