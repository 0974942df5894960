# The reference of the modules' options, as Markdown.
{ lib, options }:
let
  oneLine = text: lib.concatStringsSep " " (lib.filter (line: line != "") (map lib.trim (lib.splitString "\n" text)));
  code = text: "`${lib.replaceStrings [ "|" ] [ "\\|" ] (oneLine text)}`";
  shown =
    value:
    if value._type or null == "literalMD" then oneLine value.text else code (lib.showValue value);

  row =
    option:
    let
      default =
        if option ? defaultText then
          shown option.defaultText
        else if option ? default then
          shown option.default
        else
          "required";
      example = lib.optionalString (
        option ? example && option.example != true
      ) " For example ${shown option.example}.";
    in
    "| ${code (lib.showOption option.loc)} | ${lib.replaceStrings [ "|" ] [ "\\|" ] option.type.description} | ${default} | ${oneLine option.description}${example} |\n";

  table =
    path: tree:
    "| option | type | default | meaning |\n|---|---|---|---|\n"
    + lib.concatMapStrings row (lib.optionsIn path tree);
in
''
  # NixOS options

  The modules `nixosModules.agent`, `nixosModules.hub` and `nixosModules.client` of the flake; `nixosModules.default` is
  all three. How to use them is in [nixos.md](../nixos.md). `settings` take every other key of
  [agent.toml](agent.toml.md) and [hub.toml](hub.toml.md) as well, and the program checks the whole while the system is
  built.

  Made by `cargo xtask bless` from the modules themselves.

  ## The agent

  ${table [ "services" "kedge" "agent" ] options.services.kedge.agent}
  ## The hub

  ${table [ "services" "kedge" "hub" ] options.services.kedge.hub}
  ## The command line

  ${table [ "programs" "kedge" ] options.programs.kedge}''
