"""Prices as a use case: listed, dated, and fetched anew.

listing   prices that pass filters
age       how old the prices of an answer are today
update    newer prices from public lists
"""
