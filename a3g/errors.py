"""The one exception that a user's mistake ends in."""


class UserError(Exception):
    """A mistake that the user can mend; its text is one sentence that says what is wrong and what would be right.

    The commands print it to stderr and exit with code 2, without a traceback.
    """
