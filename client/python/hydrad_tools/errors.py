"""The one exception a user of the tools is meant to see."""


class ToolError(Exception):
    """A file or an argument is wrong; the message names the file and the field or tensor.

    The command line prints the message without a traceback and exits with status 1.
    """
