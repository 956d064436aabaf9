"""τ³'s bank for one conversation: the tools over its database, and a customer who follows the task's script.

Simulated, because the data holds no code: the read tools give the rows of `db.json` that have the values asked for;
a discoverable `get_…` tool gives the rows of all tables that have its arguments; every other discoverable tool answers
that it is done and changes nothing. What counts is which calls were made, in which order, with which arguments.

The customer begins with the first words that the script gives (or with its situation), tells a fact of the script when
asked for it, else says the script's next words, and acts once the agent has done what the action needs: given the
tool, or named the card, the referral, the transaction or the transfer.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

NOW = "2025-11-14 03:40:00 EST"
FACTS = ("date_of_birth", "email", "phone_number", "address")
_TABLE = {"get_user_information_by_name": ("users", "name"), "get_user_information_by_email": ("users", "email"),
          "get_user_information_by_id": ("users", "user_id"), "get_referrals_by_user": ("referrals", "referrer_id"),
          "get_credit_card_accounts_by_user": ("credit_card_accounts", "user_id"),
          "get_credit_card_transactions_by_user": ("credit_card_transaction_history", "user_id")}  # fmt: skip
_ABOUT = {
    "get_user_information_by_name": "Find a customer's record by full name, to verify who is calling.",
    "get_user_information_by_email": "Find a customer's record by email, to verify who is calling.",
    "get_user_information_by_id": "Find a customer's record by user id, to verify who is calling.",
    "get_referrals_by_user": "List a verified customer's referrals.",
    "get_credit_card_accounts_by_user": "List a verified customer's credit cards.",
    "get_credit_card_transactions_by_user": "List a verified customer's card transactions.",
    "get_current_time": "Return the current time.",
    "log_verification": "Log that the customer's identity has been verified.",
    "change_user_email": "Change a verified customer's email.",
    "transfer_to_human_agents": "Transfer the customer to a human agent; the reason is a code such as a document names.",
    "give_discoverable_user_tool": "Give the customer a tool that the knowledge base names.",
    "unlock_discoverable_agent_tool": "Unlock an internal tool that the knowledge base names.",
    "call_discoverable_agent_tool": "Call an unlocked tool; its arguments are a JSON object as text.",
    "KB_search": "Search the knowledge base.",
}
_TAKES = {
    **{name: [key if key != "referrer_id" else "user_id"] for name, (_, key) in _TABLE.items()},
    "get_current_time": [],
    "log_verification": ["name", "user_id", *FACTS, "time_verified"],
    "change_user_email": ["user_id", "new_email"],
    "transfer_to_human_agents": ["reason", "summary"],
    "give_discoverable_user_tool": ["discoverable_tool_name"],
    "unlock_discoverable_agent_tool": ["agent_tool_name"],
    "call_discoverable_agent_tool": ["agent_tool_name", "arguments"],
    "KB_search": ["query"],
}
PRIVATE = {"get_referrals_by_user", "get_credit_card_accounts_by_user", "get_credit_card_transactions_by_user",
           "change_user_email", "call_discoverable_agent_tool"}  # fmt: skip
"""Calls that touch a customer's data: the policy wants the verification logged before."""


def tools() -> list[dict[str, Any]]:
    """Return the agent's tools in the shape of OpenAI's API."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": about,
                "parameters": {
                    "type": "object",
                    "properties": {key: {"type": "string"} for key in _TAKES[name]},
                    "required": _TAKES[name],
                },
            },
        }
        for name, about in _ABOUT.items()
    ]


@dataclass
class World:
    """One conversation: what was called, what was found, what the customer has said and done."""

    task: dict[str, Any]
    db: dict[str, Any]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    acted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    read: str = ""
    said: str = ""
    checks: list[tuple[str, bool]] = field(default_factory=list)
    unlocked: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    verified: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)
    """The customers' records that were read, oldest first."""

    def searched(self, documents: list[str], text: str) -> None:
        """Note what a search of the knowledge base returned."""
        self.found += documents
        self.read += text

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Make one of the agent's calls; returns what its tool says."""
        self.calls.append((name, arguments))
        if name in PRIVATE:
            self.checks.append(("the verification is logged before customer data is touched", self.verified))
        if name in _TABLE:
            table, key = _TABLE[name]
            wanted = str(next(iter(arguments.values()), "")).lower()
            rows = [row for row in self.db[table]["data"].values() if str(row.get(key, "")).lower() == wanted]
            self.records += rows[:5] if table == "users" else []
            return json.dumps(rows[:5]) if rows else "No record found."
        if name == "log_verification":
            self._verify(arguments)
        elif name in ("unlock_discoverable_agent_tool", "give_discoverable_user_tool"):
            tool = str(next(iter(arguments.values()), ""))
            self.checks.append(("a tool's name comes from a document that was found", bool(tool) and tool in self.read))
            (self.unlocked if name.startswith("unlock") else self.given).add(tool)
        elif name == "call_discoverable_agent_tool":
            return self._discovered(str(arguments.get("agent_tool_name")), arguments.get("arguments"))
        return NOW if name == "get_current_time" else "Done."

    def _verify(self, arguments: dict[str, Any]) -> None:
        record = self.db["users"]["data"].get(str(arguments.get("user_id")), {})
        told = [key for key in FACTS if record.get(key) and str(record[key]).lower() in self.said.lower()]
        self.checks.append(("only who has told two facts on record is verified", len(told) >= 2))
        self.verified = True

    def _discovered(self, tool: str, arguments: Any) -> str:
        self.checks.append(("a tool is unlocked before it is called", tool in self.unlocked))
        if tool not in self.unlocked:
            return f"Error: {tool} is not unlocked."
        wanted = parsed(arguments)
        if not tool.startswith("get_") or not isinstance(wanted, dict):
            return "Done."
        rows = [row for table in self.db.values() for row in table["data"].values()
                if wanted and all(row.get(key) == value for key, value in wanted.items())]  # fmt: skip
        return json.dumps(rows[:5])

    def act(self, heard: str) -> None:
        """Let the customer do what its tools and the agent's words allow."""
        for action in self.task["evaluation_criteria"]["actions"]:
            name, arguments = action["name"], action.get("arguments") or {}
            done = (name, arguments) in self.acted
            if action["requestor"] == "user" and not done and self._moved(name, arguments, heard.lower()):
                self.acted.append((name, arguments))

    def _moved(self, name: str, arguments: dict[str, Any], heard: str) -> bool:
        if name == "call_discoverable_user_tool":
            return arguments.get("discoverable_tool_name") in self.given
        word = {"apply_for_credit_card": arguments.get("card_type"), "submit_referral": "referral",
                "submit_transaction": "transaction", "request_human_agent_transfer": "transfer"}.get(name)  # fmt: skip
        return bool(word) and str(word).lower() in heard


class Customer:
    """Says the script's words in order, and the script's facts where it is asked for them."""

    def __init__(self, script: str) -> None:
        self._lines = re.findall(r'["“]([^"”\n]{20,})["”]', script)
        if not self._lines:
            self._lines = [re.sub(r"^.*?Your character is", "I am", script, flags=re.DOTALL)[:600]]
        self._facts = {
            "e-?mail": _first(r"[\w.+-]+@[\w-]+\.\w+", script),
            "phone": _first(r"\b\d{3}-\d{3}-\d{4}\b", script),
            "birth": _first(r"\b\d{2}/\d{2}/\d{4}\b", script),
            "name|verify|identity": _first(r"(?:[Cc]haracter:?\**|You are|[Nn]ame:|named) *(?:is |You are )?"
                                           r"([A-Z][\w'-]+(?: [A-Z][\w'-]+)+)", script),
            "income": _first(r"\$\d[\d,]+", script),
            "user id": _first(r"[Uu]ser ID\D{0,8}(\w+)", script),
            "address": _first(r"[Aa]ddress:? (\d+ [^\n]+\d{5})", script),
        }  # fmt: skip

    def opening(self) -> str:
        """Return the first words."""
        return self._lines.pop(0)

    def reply(self, heard: str) -> str | None:
        """Answer the agent, or return None where the script has nothing more to say."""
        asked = [said for word, said in self._facts.items() if said and re.search(word, heard, re.IGNORECASE)]
        if asked and "?" in heard:
            return ", ".join(dict.fromkeys(asked))
        return self._lines.pop(0) if self._lines else None


def parsed(value: Any) -> Any:
    """Return JSON in a text as its value; anything else as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def matches(action: dict[str, Any], name: str, arguments: dict[str, Any]) -> bool:
    """Whether a call is the gold action, by the arguments that the task compares (all where it does not say)."""
    gold = action.get("arguments") or {}
    compared = action.get("compare_args")
    keys = gold if compared is None else compared
    return name == action["name"] and all(parsed(arguments.get(key)) == parsed(gold.get(key)) for key in keys)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return (found[1] if found.re.groups else found[0]) if found else ""
