"""Prompts without token counts: their texts and images, counted."""
