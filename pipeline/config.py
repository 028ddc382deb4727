"""One typed configuration: defaults → machine → TOML file → ``MEDSECURE__SECTION__KEY`` → command line.

Unknown keys, wrong types and values out of range are ConfigError, which names each key.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass as validated
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.engine.flow import FlowOptions
from stages.deliver.options import DeliverOptions
from stages.encrypt.options import EncryptOptions
from stages.errors import OperatorError
from stages.index.options import IndexOptions
from stages.ingest.options import IngestOptions
from stages.preprocess.options import PreprocessOptions
from stages.segment.options import SegmentOptions
from training.options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

PREFIX = "MEDSECURE__"


class ConfigError(OperatorError):
    """The configuration does not stand; the message names every key at fault."""


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class RunOptions:
    """The ``[run]`` section: where and how, not what."""

    engine: Literal["ray", "local"] = "ray"
    """Ray, or threads of one process for a laptop."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where segmentation and encryption compute."""
    address: str | None = None
    """A Ray cluster to join; none starts one on this machine."""
    metrics_port: Annotated[int, Ge(0), Le(65_535)] = 0
    """Port of /metrics; 0 serves none."""
    metrics_host: str = "127.0.0.1"
    """Address on which /metrics listens."""
    max_rejects: Annotated[float, Ge(0), Le(1)] = 0.05
    """Share of frames that may be rejected before a run ends with exit code 1."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    run: RunOptions = Field(default_factory=RunOptions)
    ingest: IngestOptions = Field(default_factory=IngestOptions)
    preprocess: PreprocessOptions = Field(default_factory=PreprocessOptions)
    segment: SegmentOptions = Field(default_factory=SegmentOptions)
    encrypt: EncryptOptions = Field(default_factory=EncryptOptions)
    index: IndexOptions = Field(default_factory=IndexOptions)
    deliver: DeliverOptions = Field(default_factory=DeliverOptions)
    flow: FlowOptions = Field(default_factory=FlowOptions)
    train: TrainOptions = Field(default_factory=TrainOptions)

    @model_validator(mode="after")
    def _a_batch_fits_a_block(self) -> Self:
        if self.ingest.batch > self.flow.block:
            raise ValueError(f"ingest.batch is {self.ingest.batch} but flow.block only {self.flow.block}")
        return self


def load(
    file: Path | None,
    overrides: Mapping[str, Mapping[str, Any]],
    suggested: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """The resolved tree. ``overrides`` are the command line's, by section; None values do not count.

    What is ``suggested`` holds where nothing else is named.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"there is no configuration file {file}")
    _refuse_unknown(os.environ)

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (left out: one more place for a surprise)
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (left out likewise)
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            least = InitSettingsSource(settings_cls, init_kwargs=dict(suggested or {}))
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file), least

    given = {
        section: kept
        for section, values in overrides.items()
        if (kept := {key: value for key, value in values.items() if value is not None})
    }
    try:
        return Layered(**given)  # type: ignore[arg-type]  # validated there
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (ValidationError, SettingsError) as error:
        raise ConfigError(_sentences(error)) from error


def as_dict(settings: Settings) -> dict[str, Any]:
    """The tree as plain values, ready for JSON."""
    return settings.model_dump(mode="json")


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Without this a misspelt variable would be ignored silently."""
    for name in environment:
        if name.upper().startswith(PREFIX):  # pydantic-settings reads either case
            section, _, key = name[len(PREFIX) :].lower().partition("__")
            field = Settings.model_fields.get(section)
            known = {one.name for one in fields(field.annotation)} if field else set()  # type: ignore[arg-type]  # every section is a dataclass
            if key.partition("__")[0] not in known:
                raise ConfigError(f"{name}: there is no such option; `medsecure config show` lists them all")


def _sentences(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):  # it names the section, not the variable
        given = ", ".join(name for name in sorted(os.environ) if name.startswith(PREFIX))
        return f"{error}: a list or a table is written as JSON in the environment ({given})"
    return "; ".join(_sentence(problem) for problem in error.errors())


def _sentence(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{key}: there is no such option"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}" if key else message
