#!/usr/bin/env python3
"""Makes a report of records: reads a JSON list of objects from stdin, writes text or JSON to stdout.

    report.py [--by FIELD] [--title TEXT] [--json] < records.json
"""

import argparse
import hashlib
import json
import string
import subprocess
import sys

PAGE = string.Template("""\
$title
$line
$rows
$count records by $field, sha256 $digest
""")
ROW = string.Template("  $key: $value")


def sort(lines):
    """The lines in the order that sort(1) gives them."""
    done = subprocess.run(["/usr/bin/sort"], input="".join(f"{line}\n" for line in lines),
                          stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def main():
    options = argparse.ArgumentParser(prog="report", description="Makes a report of records.")
    options.add_argument("--by", default="name", metavar="FIELD", help="the field to order by")
    options.add_argument("--title", default="Report")
    options.add_argument("--json", action="store_true", help="write JSON")
    args = options.parse_args()
    try:
        records = json.load(sys.stdin)
        keyed = {str(record[args.by]): record for record in records}
    except (ValueError, KeyError, TypeError) as error:
        sys.exit(f"report: not a list of objects with {args.by!r}: {error}")
    keys = sort(keyed)
    digest = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
    if args.json:
        json.dump({"by": args.by, "keys": keys, "sha256": digest}, sys.stdout)
        print()
        return
    rest = lambda record: ", ".join(f"{k}={v}" for k, v in record.items() if k != args.by)
    rows = "\n".join(ROW.substitute(key=key, value=rest(keyed[key])) for key in keys)
    sys.stdout.write(PAGE.substitute(title=args.title, line="=" * len(args.title), rows=rows,
                                     count=len(records), field=args.by, digest=digest))


if __name__ == "__main__":
    main()
