"""Venues with another API than OpenAI's: requests, answers and streams translated."""
