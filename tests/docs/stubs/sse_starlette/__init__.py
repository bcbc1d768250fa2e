"""As much of sse-starlette as the documentation uses: it is not installed for the tests."""
