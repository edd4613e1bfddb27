"""GraphQL with subscriptions, by Strawberry."""

from collections.abc import AsyncGenerator

import strawberry
from strawberry.asgi import GraphQL

seen: list[str] = []


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str) -> str:
        return f"hello {name}"

    @strawberry.field
    def seen(self) -> list[str]:
        return seen


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, target: int) -> AsyncGenerator[int, None]:
        for number in range(target):
            yield number


app = GraphQL(strawberry.Schema(query=Query, subscription=Subscription))
