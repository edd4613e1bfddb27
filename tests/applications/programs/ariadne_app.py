"""GraphQL with subscriptions, by Ariadne."""

from collections.abc import AsyncGenerator

from ariadne import QueryType, SubscriptionType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLTransportWSHandler

query, subscription = QueryType(), SubscriptionType()


@query.field("hello")
def hello(parent: object, info: object, name: str) -> str:
    return f"hello {name}"


@subscription.source("count")
async def count_source(parent: object, info: object, target: int) -> AsyncGenerator[int, None]:
    for number in range(target):
        yield number


@subscription.field("count")
def count(number: int, info: object, target: int) -> int:
    return number


schema = make_executable_schema(
    "type Query { hello(name: String!): String! } type Subscription { count(target: Int!): Int! }",
    query,
    subscription,
)
app = GraphQL(schema, websocket_handler=GraphQLTransportWSHandler())
