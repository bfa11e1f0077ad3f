import os; os.environ["PKG"] = "1"
