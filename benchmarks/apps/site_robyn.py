"""The short answers of `python -m benchmarks` on Robyn: `python site_robyn.py PORT`."""

import json
import sys

from robyn import Request, Robyn

port = int(sys.argv[1])
sys.argv[1:] = ["--log-level", "ERROR", "--disable-openapi"]
app = Robyn(__file__)


@app.get("/")
async def index() -> str:
    return "Hello, World!"


@app.get("/user/:id")
async def user(request: Request) -> str:
    return f"user {int(request.path_params['id'])}"


@app.get("/json")
async def answer_json():
    return {"message": "Hello, World!"}


@app.post("/echo")
async def echo(request: Request):
    return json.loads(request.body)


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=port)
