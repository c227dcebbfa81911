"""`ssl-embed`: the embeddings of a run, in a file."""

from ssl_lightning.cli.command import command

main = command("embed")

if __name__ == "__main__":
    main()
