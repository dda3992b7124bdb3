"""Facts: hardware, models, offers and token prices, each with source and date."""
