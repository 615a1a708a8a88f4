"""`anton import`: takes over a network that runs already, so that the first `pulumi up` replaces nothing."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.adopt.ids import Accounts, cloud_id, only_set, updated_alone
from cli.adopt.state import AUTONAMED, settled
from cli.cluster import Cluster
from cli.console import ERR, OUT, errors, print_json, progress
from cli.edge_accounts import AccountError
from cli.manifests import RELEASE, is_patch
from cli.program import Plan, Program, Resource

PLACEHOLDER = "<PLACEHOLDER>"
IMPORT = "pulumi import --file {file} --protect=false --generate-code=false --stack {stack}"
# The program checks the nodes before it does anything, so they are looked at as well; another plugin does that.
ALONE = "pulumi up --target '{urn}' --target '**NodePatch::**' --stack {stack}"
SETTLE = (
    "pulumi stack export --stack {stack} | ./anton -s {stack} import --settle --file {file}"
    " | pulumi stack import --stack {stack}"
)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--file", "-f", help="where to write Pulumi's import file")] = Path(
        "import.json"
    ),
    settle: Annotated[
        bool, typer.Option("--settle", help="after `pulumi import`: read an exported state, write it settled")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List what the stack would create and what of it exists already, and write Pulumi's import file for that.

    Nothing is imported: the commands to run next are printed. Exit status: 0 nothing is left to take over, 1 a file was
    written (--settle: something differs), 3 could not look.
    """
    with errors():
        program: Program = context.obj.program()
        if settle:
            raise typer.Exit(_settle(program, file))
        with progress("planning the stack and looking for what exists (usually 10 s)"):
            document, plan = _planned(program)
            found = Existing(program, plan)
            answers = {resource.urn: found.id_of(resource) for resource in _created(plan)}
        entries = _entries(document, plan, answers)
        existing = [urn for urn, answer in answers.items() if answer]
        if existing:
            file.write_text(json.dumps({**document, "resources": entries}, indent=2) + "\n")
            _plan_file(file).write_text(json.dumps([asdict(resource) for resource in plan.planned], indent=2) + "\n")
        if as_json:
            alone = _alone(plan, answers)
            print_json(
                {
                    "existing": {urn: answers[urn] for urn in existing},
                    "unknown": found.unknown,
                    "update_alone_first": alone,
                }
            )
        else:
            _show(program, plan, answers, found.unknown, file)
        raise typer.Exit(1 if existing else 0)


class Existing:
    """What of a plan exists already in the cluster and the accounts; `unknown` names what could not be looked at."""

    def __init__(self, program: Program, plan: Plan) -> None:
        self._cluster = Cluster.of(program)
        self._accounts = Accounts(program)
        self._planned = {resource.urn: resource for resource in plan.planned}
        self.unknown: dict[str, str] = {}

    def id_of(self, resource: Resource) -> str | None:
        """The id to import a resource by, None when there is none of it."""
        if resource.type.startswith("kubernetes:"):
            return None if is_patch(resource) else self._in_cluster(resource)
        try:
            return cloud_id(resource, self._accounts, self._planned)
        except AccountError as error:
            self.unknown[resource.name] = str(error)
            return None

    def _in_cluster(self, resource: Resource) -> str | None:
        found = live_object(self._cluster, resource)
        if found is None:
            return None
        if resource.type == RELEASE:
            return f"{resource.inputs['namespace']}/{resource.inputs['name']}"
        metadata = found["metadata"]
        return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def live_object(cluster: Cluster, resource: Resource) -> dict[str, Any] | None:
    """The object of a resource in the cluster, of a release Helm's record of what is deployed; None without one."""
    if resource.type == RELEASE:
        selector = f"owner=helm,status=deployed,name={resource.inputs['name']}"
        path = f"/api/v1/namespaces/{resource.inputs['namespace']}/secrets"
        records = cluster.items(path, labelSelector=selector)
        return max(records, key=lambda record: int(record["metadata"]["labels"]["version"]), default=None)
    inputs = resource.inputs
    metadata = inputs["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    if AUTONAMED not in (metadata.get("annotations") or {}):
        return cluster.object(inputs["apiVersion"], inputs["kind"], namespace, name)
    # Pulumi makes such a name of the resource's own and eight digits; the newest is the one in use.
    candidates = (
        entry
        for entry in cluster.items(f"/api/v1/namespaces/{namespace}/secrets")
        if entry["metadata"]["name"].rpartition("-")[0] == resource.name
    )
    newest = max(candidates, key=lambda entry: entry["metadata"]["creationTimestamp"], default=None)
    return newest and {"apiVersion": inputs["apiVersion"], "kind": inputs["kind"], **newest}


def _planned(program: Program) -> tuple[dict[str, Any], Plan]:
    """Pulumi's own import file for all that it would create, with placeholders for ids, and the plan."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "import.json")
        plan = program.preview("--import-file", str(file))
        document: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"resources": []}
    return document, plan


def _created(plan: Plan) -> list[Resource]:
    return [
        change.new
        for change in plan.changes
        if change.new
        and change.new.custom
        and change.operation == "create"
        and not change.new.type.startswith("pulumi:")
    ]


def _entries(document: Mapping[str, Any], plan: Plan, answers: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """The import file's entries with their ids; without what does not exist."""
    urns = {(change.resource.type, change.resource.name): change.resource.urn for change in plan.changes}
    found = []
    for entry in document.get("resources") or []:  # Pulumi leaves the key out where it would create nothing
        urn = urns[entry["type"], entry.get("logicalName", entry["name"])]
        if entry.get("id") != PLACEHOLDER:
            found.append(entry)
        elif answer := answers.get(urn):
            found.append({**entry, "id": answer})
    return found


def _alone(plan: Plan, answers: Mapping[str, str | None]) -> list[str]:
    """URNs of what is taken over and then has to be updated in a run of its own."""
    return [resource.urn for resource in plan.planned if answers.get(resource.urn) and updated_alone(resource)]


def _plan_file(file: Path) -> Path:
    """Where the plan from before the import is kept, which settling compares with; secrets are masked in it."""
    return file.with_suffix(".plan.json")


def _settle(program: Program, file: Path) -> int:
    command = SETTLE.format(stack=program.stack, file=file)
    if sys.stdin.isatty():
        raise typer.BadParameter(f"reads an exported state: {command}")
    if not _plan_file(file).is_file():
        raise typer.BadParameter(f"{_plan_file(file)} is not there; it is written together with {file}")
    planned = [Resource(**entry) for entry in json.loads(_plan_file(file).read_text())]
    exported = json.load(sys.stdin)
    cluster = Cluster.of(program)
    by_urn = {resource.urn: resource for resource in planned}
    agreed, differing = settled(exported["deployment"], by_urn, lambda resource: live_object(cluster, resource))
    sys.stdout.write(json.dumps(exported, indent=2) + "\n")
    ERR.print(f"{agreed} objects are as the program declares them.")
    if differing:
        ERR.print(
            f"{len(differing)} differ and will be changed by the next update: {', '.join(differing)}", markup=False
        )
    return 1 if differing else 0


def _show(
    program: Program, plan: Plan, answers: Mapping[str, str | None], unknown: Mapping[str, str], file: Path
) -> None:
    names = {resource.urn: resource for resource in plan.planned}
    existing = {urn: answer for urn, answer in answers.items() if answer}
    for urn, answer in existing.items():
        OUT.print(f"[green]exists[/]   {escape(names[urn].type.rpartition(':')[2])} {escape(answer)}")
    for urn in answers.keys() - existing.keys():
        resource = names[urn]
        again = "applied again" if is_patch(resource) else "will be created"
        reason = unknown.get(resource.name) or only_set(resource) or again
        OUT.print(
            f"[yellow]missing[/]  {escape(resource.type.rpartition(':')[2])} {escape(resource.name)}: {escape(reason)}"
        )
    if not existing:
        OUT.print("Nothing that this stack would create exists already.")
        return
    OUT.print(f"\n{len(existing)} resources to take over are in {file}. Next, each of which you can look at first:")
    alone = _alone(plan, answers)
    for command in (
        *(IMPORT, SETTLE),
        *(ALONE.replace("{urn}", urn) for urn in alone),
        "pulumi preview --diff --stack {stack}",
    ):
        OUT.print("  " + command.format(file=file, stack=program.stack), markup=False, soft_wrap=True)
    if alone:
        OUT.print(
            "The tunnel is updated in a run of its own: that sets its secret, and the plugin sends wrong requests for "
            "other resources of the same run (docs/anton-import.md)."
        )
