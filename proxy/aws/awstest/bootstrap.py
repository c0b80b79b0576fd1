# SPDX-License-Identifier: Apache-2.0
"""A runtime of Lambda: takes events from the Runtime API, and gives it what the handler returns."""
import importlib
import json
import os
import traceback
from urllib.request import Request, urlopen

API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/"
module, name = os.environ["_HANDLER"].split(".")
handler = getattr(importlib.import_module(module), name)
while True:
    with urlopen(API + "invocation/next") as r:
        at, event = API + "invocation/" + r.headers["Lambda-Runtime-Aws-Request-Id"], json.load(r)
    try:
        kind, answer = "/response", handler(event, None)
    except Exception as e:
        kind, answer = "/error", {"errorMessage": str(e), "errorType": type(e).__name__, "stackTrace": traceback.format_exc().splitlines()}
    urlopen(Request(at + kind, data=json.dumps(answer).encode(), method="POST")).close()
