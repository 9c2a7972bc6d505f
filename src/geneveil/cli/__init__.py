"""The command line. Each module adds its commands to the one app in `app`.

Imports of anything heavy stay inside the commands: `geneveil --help` must answer at once.
"""
