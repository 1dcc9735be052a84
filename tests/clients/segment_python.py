"""Sends COUNT track messages, and one of each other kind, with segment-analytics-python."""

import os
import sys

import segment.analytics as analytics

failed = []
analytics.write_key = os.environ["WRITE_KEY"]
analytics.host = os.environ["LACUS_URL"]
analytics.gzip = os.environ.get("GZIP") == "1"
analytics.max_retries = 50
# What does not fit into its queue, the SDK drops.
analytics.max_queue_size = 1_000_000
analytics.on_error = lambda error, items: failed.append(str(error))

prefix, count = os.environ["PREFIX"], int(os.environ["COUNT"])
for number in range(count):
    user = f"user-{number % 7}"
    properties = {"number": number, "price": 1.5 * number, "nested": {"tags": ["a", "b"]}}
    analytics.track(user, "Product Viewed", properties, message_id=f"{prefix}-{number}")
analytics.identify("user-1", {"plan": "free", "email": "one@example.com"})
analytics.identify("user-1", {"plan": "pro"})
analytics.page("user-1", "Docs", "Home", {"url": "/"})
analytics.screen("user-1", "Main", "Start", {"dark": True})
analytics.group("user-1", "group-1", {"employees": 7})
analytics.alias("anonymous-1", "user-1")
analytics.shutdown()
sys.exit(f"not sent: {failed[:3]}" if failed else 0)
