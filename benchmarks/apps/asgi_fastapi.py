"""An application of FastAPI."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/{path:path}")
async def index(path: str):
    return {"message": "Hello, World!"}
