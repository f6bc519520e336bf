"""Loading.

Source rows into a warehouse table, as the table's pygrametl class would have written them.
"""
