"""What is wrong with ALERTS in config.py, told without the URLs, which have secrets in them."""


def alert_faults(urls: object) -> list[str]:
    """Return what is wrong with ALERTS, a line each."""
    if not (isinstance(urls, list | tuple) and all(isinstance(url, str) for url in urls)):
        return ["config.py: ALERTS must be a list of URLs, as Apprise has them, such as mailto://…"]
    if not urls:
        return []
    from apprise import Apprise  # noqa: PLC0415 - costs a third of a second

    return [
        f"config.py: ALERTS[{at}] is no URL that Apprise knows; see https://appriseit.com"
        for at, url in enumerate(urls)
        if not Apprise.instantiate(url, suppress_exceptions=True)
    ]
