"""The same bytes sent to several servers, which run the same app: what each understood, how it
answered and whether it kept the connection. Each difference is listed, with its reason, in
differences.yaml.
"""
