import os; token = os.urandom(4)
