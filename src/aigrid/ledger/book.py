"""The book: what every tenant and key has spent, holds and may still use, in memory.

Pure and synchronous: a hold is admitted in one step that nothing can come between, so concurrent requests cannot
overspend: in every window `spent + held + new <= limit`, for the key and for its tenant. A hold counts in the
window in which it settles: what is held over midnight is taken from the new day's budget.
"""

from collections.abc import Mapping
from typing import NoReturn

from aigrid.core.clock import SECOND
from aigrid.core.errors import BudgetExceeded, RateLimited, Unauthorized
from aigrid.ledger.account import Account
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.prices import Tariff, usd


class Book:
    """All accounts."""

    def __init__(self) -> None:
        self.keys: dict[str, Account] = {}
        self.tenants: dict[str, Account] = {}

    def tenant(self, name: str, limits: Limits | None = None) -> Account:
        """Return a tenant's account, made if new, with new limits if given."""
        account = self.tenants.get(name)
        if account is None:
            account = self.tenants[name] = Account(f"tenant {name}", limits or Limits())
        elif limits is not None and limits != account.limits:
            account.limit(limits)
        return account

    def key(self, key: Key) -> Account:
        """Return a key's account, made if new, with the key's limits and revocation in force."""
        account = self.keys.get(key.id)
        if account is None:
            account = self.keys[key.id] = Account(f"key {key.id}", key.limits, self.tenant(key.tenant))
        elif key.limits != account.limits:
            account.limit(key.limits)
        account.live = key.revoked_ns is None
        return account

    def load(
        self, total: Mapping[tuple[str, str], int], day: Mapping[tuple[str, str], int],
        month: Mapping[tuple[str, str], int], now_ns: int,
    ) -> None:  # fmt: skip
        """Take in what the records say was spent, by (tenant, key id); to be done once, on a new book."""
        for owner, spent in total.items():
            tenant = self.tenant(owner[0])
            key = self.keys.get(owner[1])
            if key is None:
                key = self.keys[owner[1]] = Account(f"key {owner[1]}", Limits(), tenant)
            for one in (key, tenant):
                one.load(spent, day.get(owner, 0), month.get(owner, 0), now_ns)

    def reserve(self, account: Account, order: Order, tariff: Tariff, now_ns: int, mono: int) -> tuple[int, int]:
        """Hold money, tokens and a place for `order`; return (completion tokens granted, nano-dollars held).

        Raises `Unauthorized`, `RateLimited` or `BudgetExceeded`, and then nothing has changed.
        """
        payer = account.payer
        assert payer is not None
        if not account.live:
            raise Unauthorized(f"{account.label} was revoked; use another key")
        completion = order.completion_bound
        amount = order.purse_nusd
        if amount is None:
            amount = tariff.bound(order.prompt_bound, completion)
        if not payer.bounded and account.enter(amount, order.prompt_bound + completion, now_ns, mono):
            payer.held += amount
            payer.running += 1
            return completion, amount
        return self._reserve_within(account, payer, order, tariff, now_ns, mono)

    def _reserve_within(
        self, account: Account, payer: Account, order: Order, tariff: Tariff, now_ns: int, mono: int
    ) -> tuple[int, int]:
        """Find what several limits leave for an order, and hold that; say what is in the way if it is nothing."""
        completion = order.completion_bound
        both = (account, payer) if payer.bounded else (account,)
        for one in both:
            limits = one.limits
            if limits.concurrency is not None and one.running >= limits.concurrency:
                _too_many(one, limits.concurrency)
            if limits.requests_per_minute is not None:
                wait = one.requests.wait_ns(1, limits.requests_per_minute, mono)
                if wait:
                    _too_fast(one, "request", limits.requests_per_minute, wait)
            if order.flexible and limits.tokens_per_minute is not None:
                completion = cut(completion, limits.tokens_per_minute - order.prompt_bound, order.n)
        purse = order.purse_nusd
        amount = tariff.bound(order.prompt_bound, completion) if purse is None else purse
        for one in both:
            room = one.room(now_ns) if one.budgets else None
            if room is None or amount <= room[0]:
                continue
            if purse is not None and room[0] > 0:
                amount = room[0]
                continue
            fits = tariff.affordable(order.prompt_bound, room[0]) if order.flexible and purse is None else -1
            if fits < order.n:
                _too_dear(one, order, completion, amount, room)
            completion = cut(completion, fits, order.n)
            amount = tariff.bound(order.prompt_bound, completion)
        units = order.prompt_bound + completion
        for one in both:
            limit = one.limits.tokens_per_minute
            if limit is not None:
                wait = one.tokens.wait_ns(units, limit, mono)
                if wait:
                    _too_many_tokens(one, units, limit, wait)
        account.held += amount
        account.running += 1
        payer.held += amount
        payer.running += 1
        for one in both:
            if one.limits.requests_per_minute is not None:
                one.requests.add(1)
            if one.limits.tokens_per_minute is not None:
                one.tokens.add(units)
        return completion, amount

    def settle(self, account: Account, released: int, spent: int, now_ns: int) -> None:
        """Turn `released` held nano-dollars into `spent` ones (at most as many); the rest is free again."""
        assert 0 <= spent <= released <= account.held
        payer = account.payer
        assert payer is not None
        account.settle(released, spent, now_ns)
        payer.settle(released, spent, now_ns)

    def leave(self, account: Account, reserved_tokens: int, used_tokens: int) -> None:
        """Give back a request's place and the tokens that it reserved but did not use."""
        payer = account.payer
        assert payer is not None
        account.running -= 1
        payer.running -= 1
        if used_tokens != reserved_tokens:
            self.use(account, used_tokens - reserved_tokens)

    def use(self, account: Account, tokens: int) -> None:
        """Count tokens that were reserved by a request which has left already."""
        for one in (account, account.payer):
            if one is not None and one.limits.tokens_per_minute is not None:
                one.tokens.add(tokens)


def cut(completion: int, most: int, n: int) -> int:
    """Return completion tokens cut to `most`: a multiple of `n`, and at least `n`."""
    return completion if completion <= most else max(n, most // n * n)


def _too_many(account: Account, limit: int) -> NoReturn:
    raise RateLimited(
        f"{account.label} has {account.running} requests running and its limit is {limit}; "
        "wait for one to finish, or raise the concurrency limit",
        retry_after=1.0,
    )


def _too_fast(account: Account, what: str, limit: int, wait_ns: int) -> NoReturn:
    seconds = wait_ns / SECOND
    raise RateLimited(
        f"{account.label} is at its limit of {limit:,} {what}s per minute; "
        f"try again in {seconds:.1f} s, or raise the limit",
        retry_after=seconds,
    )


def _too_many_tokens(account: Account, units: int, limit: int, wait_ns: int) -> NoReturn:
    if units > limit:
        raise RateLimited(
            f"this request may take {units:,} tokens, and the limit of {account.label} is {limit:,} tokens per minute; "
            "lower max_tokens, shorten the prompt, or raise the limit",
            param="max_tokens",
        )
    # What running requests reserved and do not use comes back when they end, often at once.
    _too_fast(account, "token", limit, min(wait_ns, SECOND) if account.running else wait_ns)


def _too_dear(
    account: Account, order: Order, completion: int, amount: int, room: tuple[int, str, int, int]
) -> NoReturn:
    left, name, most, spent = room
    budget = {"total": "budget", "day": "daily budget", "month": "monthly budget"}[name]
    raise BudgetExceeded(
        f"this request may cost up to {usd(amount)} ({order.prompt_bound:,} prompt and {completion:,} completion "
        f"tokens), but {account.label} has {usd(max(left, 0))} left of its {budget} of {usd(most)} "
        f"({usd(spent)} spent, {usd(account.held)} held by running requests); "
        "lower max_tokens, wait for running requests to end, or raise the budget",
        param="max_tokens",
        retry_after=1.0 if amount <= most - spent else None,  # what running requests do not use comes back
    )
