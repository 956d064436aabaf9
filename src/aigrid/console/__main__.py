"""`python -m aigrid.console`: the console by itself."""

import argparse
import sys

from aigrid.console import run
from aigrid.core.errors import AigridError


def main() -> int:
    """Parse the command line and serve; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aigrid.console", description="The web console of a gateway.")
    parser.add_argument("--gateway", default="http://127.0.0.1:8470", help="address of the gateway (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8471, help="port to listen on (%(default)s)")
    parser.add_argument("--tls-cert", help="certificate (PEM): serve https")
    parser.add_argument("--tls-key", help="private key (PEM) of the certificate")
    args = parser.parse_args()
    try:
        run(args.gateway, args.host, args.port, tls_cert=args.tls_cert, tls_key=args.tls_key)
    except AigridError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
