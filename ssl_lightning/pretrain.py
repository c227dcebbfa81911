"""`ssl-pretrain`: composes a run, trains it, and leaves everything in its folder."""

from ssl_lightning.cli.command import command

main = command("pretrain")

if __name__ == "__main__":
    main()
