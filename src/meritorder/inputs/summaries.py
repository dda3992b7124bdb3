"""How a cell of a table says that its row sums up others, as spreadsheets, exports and invoices write it."""

from typing import Final

SAYS_TOTAL: Final = (
    r"(?i)^\s*(?:[\w.-]+[ -])?(?:sub|grand)?[ -]?totals?\b|\b(?:sub|grand)?-?totals?\W*$"
    r"|^\s*(?:zwischen|gesamt|end)?summe\b|^\s*gesamt(?:betrag|kosten|ergebnis)?\W*$"
    r"|^\s*(?:sous-)?(?:totale?|totaux|somme|suma|итого)\b|\b(?:totale[ns]?|totaux|totais|insgesamt)\W*$"
    r"|^\s*(?:amount|balance) (?:due|payable)\W*$|^\W*(?-i:(?:[A-Z][a-z]+)+Totals?)\W*$"
    r"|^\s*(?:合計|小計|总计|合计|小计|總計)"
)
"""A row is the total of others."""

SAYS_STATISTIC: Final = (
    rf"{SAYS_TOTAL}|^\s*(?:averages?|avg|means?|medians?|max(?:imum)?|min(?:imum)?|sum|count|std(?: ?dev)?"
    r"|mittelwert|durchschnitt|moyenne|media|promedio)\W*$"
)
"""A row is a figure of others: their sum, mean, or largest value."""
