"""The page of `whet label`: its routes, who may use it, and what it shows."""
