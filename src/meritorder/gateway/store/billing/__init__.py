"""What the store keeps of money: the ledger, paid capacity, receipts and quotes."""
