"""The pages' tables, made from records and presets."""
