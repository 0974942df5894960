# Declaring options, and showing them.
lib: rec {
  mkOption = option: option // { _type = "option"; };

  mkEnableOption =
    what:
    mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };

  mkPackageOption =
    packages: name:
    {
      default ? name,
      nullable ? false,
      ...
    }:
    mkOption {
      type = (if nullable then lib.types.nullOr else lib.id) lib.types.package;
      default = packages.${default} or (throw "there is no package ${default}");
      defaultText = literalExpression "pkgs.${default}";
      description = "The ${name} package to use.";
    };

  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };

  removeAttrsPrefix =
    prefix: path:
    if prefix == [ ] then path else removeAttrsPrefix (lib.tail prefix) (lib.tail path);

  showOption =
    path:
    lib.concatMapStringsSep "." (
      part: if lib.match "[a-zA-Z_][a-zA-Z0-9_'-]*|<.*>|\\*" part != null then part else builtins.toJSON part
    ) path;

  showDefinitions =
    definitions:
    "Definition values:"
    + lib.concatMapStrings (one: "\n- In `${one.file}': ${showValue one.value}") definitions;

  # Nix's own form of a value, for people.
  showValue =
    value:
    if value._type or null == "literalExpression" || value._type or null == "literalMD" then
      value.text
    else if lib.isDerivation value then
      "<derivation ${value.name}>"
    else if lib.isAttrs value then
      "{${lib.concatMapStrings (name: " ${showOption [ name ]} = ${showValue value.${name}};") (lib.attrNames value)} }"
    else if lib.isList value then
      "[${lib.concatMapStrings (one: " ${showValue one}") value} ]"
    else if lib.isFunction value then
      "<function>"
    else if lib.isPath value then
      toString value
    else
      builtins.toJSON value;

  # Every option that is declared in a tree, those of submodules included, by its path.
  optionsIn =
    path: tree:
    lib.concatMap (
      name:
      let
        node = tree.${name};
        here = path ++ [ name ];
      in
      if !lib.isOption node then
        optionsIn here node
      else if node.internal or false || !(node.visible or true) then
        [ ]
      else
        [ (node // { loc = here; }) ] ++ optionsIn here ((node.type.getSubOptions or (_: { })) here)
    ) (lib.attrNames (lib.removeAttrs tree [ "_module" ]));
}
