"""sqlparse: statements split, formatted, and taken apart into tokens and groups."""
import sqlparse
from sqlparse.sql import Comparison, Function, Identifier, IdentifierList, Where
from sqlparse.tokens import DML, Keyword

SQL = """select a.id, count(*) as n, 'it''s; not the end' text from tools a -- comment ; here
left join sizes s on s.id=a.id and s.kind in (select kind from kinds where x<3) where a.name like '%x%' and (b>1 or c is null)
group by a.id having count(*)>2 order by n desc limit 5; insert into t(a,b) values (1,$1),(2,:name); create function f() returns int as $$ begin return 1; end; $$ language plpgsql;"""

statements = sqlparse.split(SQL)
print(len(statements), [s.split()[0] for s in statements])
print(sqlparse.format(statements[0], reindent=True, keyword_case="upper", identifier_case="lower", strip_comments=True, comma_first=True))
print(sqlparse.format(statements[1], reindent_aligned=True, use_space_around_operators=True))
statement = sqlparse.parse(statements[0])[0]
print(statement.get_type(), [sqlparse.parse(s)[0].get_type() for s in statements[1:]])
for token in statement.tokens:
    if not token.is_whitespace:
        print(type(token).__name__, str(token.ttype), repr(str(token)[:40]))
names = next(token for token in statement.tokens if isinstance(token, IdentifierList))
print([(i.get_real_name(), i.get_alias(), i.get_parent_name(), i.has_alias()) for i in names.get_identifiers() if isinstance(i, Identifier)])
where = next(token for token in statement.tokens if isinstance(token, Where))
print([str(c) for c in where.get_sublists() if isinstance(c, Comparison)], sum(1 for t in statement.flatten() if t.ttype is DML or t.ttype is Keyword))
print(sqlparse.format("select   1", output_format="python").replace("\n", "|"), sqlparse.format("select aVeryLongName from x", truncate_strings=5, indent_tabs=True))
