"""Input files, from where they lie to typed columns; traces and bills are read through this package.

    places        paths, globs, standard input, pipes and URLs to local files
    remote        objects of s3://, gs://, az:// and files of https:// as local copies
    unpacking     gzip and zstd within stated limits, and other encodings as UTF-8
    csv_header    the header of a CSV, and what separates its columns
    json_records  the records of JSON lines, arrays, indented documents and pages of an API
    spreadsheets  the first table of an Excel workbook
    paths         columns, dotted paths into nested columns, and sums of them
    numbers       how a column writes numbers: "1,200.5" or "1.200,5"
    times         how a column writes times: ISO 8601, US, German, nginx, epochs
    zones         names of time zones, and which have several meanings

How numbers and times are written is decided by the column as a whole, never by one cell.
"""
