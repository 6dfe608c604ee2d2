"""What people say of search results, kept safely, and made into a better model."""
