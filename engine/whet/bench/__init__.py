"""Recipes with published figures, run again: what they gave, beside what was published."""
