# GOLDEN
/opt/t/probe exec-pages
