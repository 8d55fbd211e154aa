"""Shared code of the studies that compare methods: options, runs, kept results, tables and figures."""
