"""What tests of whole trainings say of their runs."""


class InterruptError(Exception):
    """Breaks a training off."""


def heads(run):
    """The weights of all heads."""
    return {k: v for k, v in run.load().state_dict().items() if ".head." in k}
