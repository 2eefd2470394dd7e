"""The command line ``moda``: one file a command, put together in main."""
