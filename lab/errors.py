"""The lab's own errors."""

from geneveil.model.errors import Culprit, GeneveilError


class LabError(GeneveilError):
    """The lab could not do what was asked; says where the evidence is."""

    culprit = Culprit.LAB
