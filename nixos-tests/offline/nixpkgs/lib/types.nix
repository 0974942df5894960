# The types of options: what each takes, how several definitions of one option become one value, and its name in
# messages and in the reference.
lib:
let
  files = definitions: lib.showDefinitions definitions;

  mergeOne =
    path: definitions:
    if lib.length definitions == 1 then
      (lib.head definitions).value
    else
      throw "The option `${lib.showOption path}' is defined multiple times while it's expected to be unique. ${files definitions}";

  mergeEqual =
    path: definitions:
    let
      first = (lib.head definitions).value;
    in
    if lib.all (one: one.value == first) definitions then
      first
    else
      throw "The option `${lib.showOption path}' has conflicting definition values: ${files definitions}";

  mkType =
    description: check: rest:
    {
      _type = "option-type";
      merge = mergeEqual;
      inherit description check;
    }
    // rest;

  # Words that follow "of" stand in brackets when they are several.
  phrase = type: if lib.hasInfix " or " type.description then "(${type.description})" else type.description;

  sets =
    isLazy: element:
    mkType "${if isLazy then "lazy " else ""}attribute set of ${phrase element}" lib.isAttrs {
      getSubOptions = path: (element.getSubOptions or (_: { })) (path ++ [ "<name>" ]);
      merge =
        path: definitions:
        let
          pushed = lib.pushDownAll path definitions;
          names = lib.unique (lib.concatMap (one: lib.attrNames one.value) pushed);
          merged = lib.genAttrs names (
            name: lib.mergeDefinitions (path ++ [ name ]) element (lib.named name pushed)
          );
        in
        # In a lazy set, what is nowhere defined fails when it is looked at.
        lib.mapAttrs (_: one: one.value) (
          if isLazy then merged else lib.filterAttrs (_: one: one.isDefined) merged
        );
    };
in
rec {
  inherit mkType;

  addCheck = type: check: type // { check = value: type.check value && check value; };

  ## Single values

  anything = mkType "anything" (_: true) {
    merge =
      path: definitions:
      if lib.all (one: lib.isAttrs one.value && !lib.isDerivation one.value) definitions then
        (attrsOf anything).merge path definitions
      else
        mergeEqual path definitions;
  };
  raw = mkType "raw value" (_: true) { merge = mergeOne; };
  unspecified = mkType "unspecified value" (_: true) {
    merge =
      path: definitions:
      if lib.all (one: lib.isList one.value) definitions then
        lib.concatMap (one: one.value) definitions
      else
        mergeEqual path definitions;
  };
  bool = mkType "boolean" lib.isBool { };
  int = mkType "signed integer" lib.isInt { };
  float = mkType "floating point number" lib.isFloat { };
  number = either int float;
  ints = {
    between =
      least: most:
      addCheck int (value: value >= least && value <= most)
      // {
        description = "integer between ${toString least} and ${toString most} (both inclusive)";
      };
    positive = addCheck int (value: value > 0) // {
      description = "positive integer, meaning >0";
    };
    unsigned = addCheck int (value: value >= 0) // {
      description = "unsigned integer, meaning >=0";
    };
    u16 = addCheck int (value: value >= 0 && value <= 65535) // {
      description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
    };
  };
  port = ints.u16;
  str = mkType "string" lib.isString { };
  singleLineStr = addCheck str (value: !lib.hasInfix "\n" (lib.removeSuffix "\n" value)) // {
    description = "(optionally newline-terminated) single-line string";
  };
  strMatching =
    pattern:
    addCheck str (value: lib.match pattern value != null)
    // {
      description = "string matching the pattern ${pattern}";
    };
  separatedString =
    separator:
    mkType "strings concatenated with ${builtins.toJSON separator}" lib.isString {
      merge = _: definitions: lib.concatMapStringsSep separator (one: one.value) definitions;
    };
  lines = separatedString "\n";
  enum =
    values:
    mkType "one of ${lib.concatMapStringsSep ", " lib.showValue values}" (value: lib.elem value values) { };

  ## Paths and packages

  path = pathWith { absolute = true; };
  externalPath = pathWith {
    absolute = true;
    inStore = false;
  };
  pathWith =
    {
      absolute ? null,
      inStore ? null,
    }:
    mkType
      (
        (if absolute == true then "absolute path" else "path")
        + (if inStore == null then "" else if inStore then " in the Nix store" else " not in the Nix store")
      )
      (
        value:
        # A path of Nix's own might be copied into the store later on.
        (if inStore == false then lib.isString value else lib.isStringLike value)
        && (inStore == null || inStore == lib.hasPrefix "/nix/store/" (toString value))
        && (absolute == null || absolute == lib.hasPrefix "/" (toString value))
      )
      { };
  package = mkType "package" (value: lib.isDerivation value || lib.isStorePath value) {
    merge = mergeOne;
  };

  ## Of other types

  nullOr =
    element:
    mkType "null or ${element.description}" (value: value == null || element.check value) {
      getSubOptions = element.getSubOptions or (_: { });
      merge =
        path: definitions:
        let
          nulls = lib.filter (one: one.value == null) definitions;
        in
        if nulls == [ ] then
          element.merge path definitions
        else if nulls == definitions then
          null
        else
          throw "The option `${lib.showOption path}' is defined both null and not null. ${files definitions}";
    };
  either =
    a: b:
    mkType "${a.description} or ${b.description}" (value: a.check value || b.check value) {
      merge =
        path: definitions:
        let
          allAre = type: lib.all (one: type.check one.value) definitions;
        in
        if allAre a then
          a.merge path definitions
        else if allAre b then
          b.merge path definitions
        else
          mergeOne path definitions;
    };
  oneOf = types: lib.foldl' either (lib.head types) (lib.tail types);
  listOf =
    element:
    mkType "list of ${phrase element}" lib.isList {
      getSubOptions = path: (element.getSubOptions or (_: { })) (path ++ [ "*" ]);
      merge =
        path: definitions:
        map (one: one.value) (
          lib.filter (one: one.isDefined) (
            lib.concatMap (
              definition:
              lib.imap1 (
                index: value:
                lib.mergeDefinitions (path ++ [ "[entry ${toString index}]" ]) element [
                  {
                    inherit (definition) file;
                    inherit value;
                  }
                ]
              ) definition.value
            ) definitions
          )
        );
    };
  attrsOf = sets false;
  lazyAttrsOf = sets true;

  ## Of modules

  submodule =
    modules:
    mkType "submodule" lib.isAttrs {
      getSubOptions =
        path:
        (lib.evalModules {
          modules = lib.toList modules;
          prefix = path;
          specialArgs.name = "<name>";
        }).options;
      merge =
        path: definitions:
        (lib.evalModules {
          modules =
            lib.toList modules
            ++ map (one: {
              _file = one.file;
              config = one.value;
            }) definitions;
          prefix = path;
          specialArgs.name = lib.last path;
        }).config;
    };
}
