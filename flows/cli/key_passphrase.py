"""``avih keys passphrase``: another passphrase for the same keys; ``flows.cli.keys`` makes it a command."""

from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, err, explained, print_json, table


def passphrase(
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Seal the vault and all keys under another passphrase; keys, ids, pictures and signatures stay the same.

    The old passphrase comes from AVIH_PASSPHRASE, AVIH_KEY_FILE or a prompt; the new one from
    AVIH_NEW_PASSPHRASE, AVIH_NEW_KEY_FILE or a prompt, twice. Cut short, the same command again does the rest.

    It reaches this store alone: backups, snapshots and older versions of objects still open with the old one.
    Whoever had it and a copy of the files has the keys: then rotate, too. Give schedules and workers the new one.

    Example: AVIH_KEY_FILE=~/avih.pass AVIH_NEW_KEY_FILE=~/avih-new.pass avih keys passphrase
    """
    from avih.keys import find_passphrase
    from avih.naming import Store

    with explained(debug):
        from avih.keys.passphrase import find_new_passphrase, new_passphrase_given
        from avih.keys.resealing import plan_change
        from tasks.create_key import default_actor
        from tasks.passphrase_change import change_store_passphrase

        place = Store.open(store)
        old = find_passphrase()
        with clean_stdout():
            if dry_run:
                done = plan_change(place.keys, old=old, new=new_passphrase_given())
            else:
                done = change_store_passphrase(
                    store=place, old=old, new=find_new_passphrase(), actor=default_actor()
                )
        if as_json:
            print_json({"dry_run": dry_run, "sealed_anew": list(done.old), "already_new": list(done.new)})
            return
        words = (
            "to be sealed anew; nothing was changed (--dry-run)" if dry_run else "sealed anew",
            "already new",
        )
        title = f"passphrase: {len(done.old)} {words[0]}"
        table(title, dict.fromkeys(done.old, words[0].partition(";")[0]) | dict.fromkeys(done.new, words[1]))
        if not dry_run:
            err.print(
                "From now on this store opens with the new passphrase alone; backups made before still open with "
                "the old one. Give schedules and workers the new one."
            )
