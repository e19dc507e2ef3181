"""The app named by VALIDATED_APP inside wsgiref.validate, which raises where PEP 3333 is broken."""

import importlib
import os
from wsgiref.validate import validator

module, _, name = os.environ["VALIDATED_APP"].partition(":")

app = validator(getattr(importlib.import_module(module), name))
