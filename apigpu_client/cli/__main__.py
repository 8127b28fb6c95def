"""`python -m apigpu_client.cli`: the same as the command `apigpu`."""

from apigpu_client.cli.commands import main

if __name__ == "__main__":
    main()
