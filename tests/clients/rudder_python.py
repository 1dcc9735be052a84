"""Sends COUNT track messages with rudder-sdk-python."""

import os
import sys

import rudderstack.analytics as analytics

failed = []
analytics.write_key = os.environ["WRITE_KEY"]
analytics.dataPlaneUrl = os.environ["LACUS_URL"]
analytics.max_retries = 50
# What does not fit into its queue, the SDK drops.
analytics.max_queue_size = 1_000_000
analytics.on_error = lambda error, items: failed.append(str(error))

prefix, count = os.environ["PREFIX"], int(os.environ["COUNT"])
for number in range(count):
    analytics.track(f"user-{number % 7}", "Product Viewed", {"number": number}, message_id=f"{prefix}-{number}")
analytics.shutdown()
sys.exit(f"not sent: {failed[:3]}" if failed else 0)
