# What this project uses of nixpkgs' `lib`, under the same names and with the same meaning.
let
  lib = {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      functionArgs
      genList
      head
      isAttrs
      isBool
      isFloat
      isFunction
      isInt
      isList
      isPath
      isString
      length
      mapAttrs
      match
      readFile
      removeAttrs
      replaceStrings
      sort
      stringLength
      substring
      tail
      ;

    ## Lists

    flatten = value: if lib.isList value then lib.concatMap lib.flatten value else [ value ];
    last = list: lib.elemAt list (lib.length list - 1);
    optional = condition: value: if condition then [ value ] else [ ];
    imap1 = f: list: lib.genList (index: f (index + 1) (lib.elemAt list index)) (lib.length list);
    unique = lib.foldl' (found: one: if lib.elem one found then found else found ++ [ one ]) [ ];
    toList = value: if lib.isList value then value else [ value ];

    ## Sets

    attrByPath =
      path: default: set:
      if path == [ ] then
        set
      else if lib.isAttrs set && set ? ${lib.head path} then
        lib.attrByPath (lib.tail path) default set.${lib.head path}
      else
        default;
    filterAttrs =
      keep: set:
      lib.removeAttrs set (lib.filter (name: !keep name set.${name}) (lib.attrNames set));
    filterAttrsRecursive =
      keep: set:
      lib.mapAttrs (
        _: value:
        if lib.isAttrs value && !(value ? type) then lib.filterAttrsRecursive keep value else value
      ) (lib.filterAttrs keep set);
    genAttrs =
      names: f:
      builtins.listToAttrs (map (name: lib.nameValuePair name (f name)) names);
    mapAttrs' =
      f: set: builtins.listToAttrs (map (name: f name set.${name}) (lib.attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (lib.attrNames set);
    nameValuePair = name: value: { inherit name value; };
    optionalAttrs = condition: set: if condition then set else { };
    recursiveUpdate =
      a: b:
      if lib.isAttrs a && lib.isAttrs b then
        a // lib.mapAttrs (name: value: if a ? ${name} then lib.recursiveUpdate a.${name} value else value) b
      else
        b;
    setAttrByPath =
      path: value:
      if path == [ ] then
        value
      else
        { ${lib.head path} = lib.setAttrByPath (lib.tail path) value; };

    ## Text

    concatStrings = lib.concatStringsSep "";
    concatMapStrings = f: list: lib.concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      lib.concatStringsSep separator (map f list);
    hasInfix = part: text: lib.length (lib.splitString part text) > 1;
    hasPrefix = prefix: text: lib.substring 0 (lib.stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        start = lib.stringLength text - lib.stringLength suffix;
      in
      start >= 0 && lib.substring start (-1) text == suffix;
    isStringLike = value: lib.isString value || lib.isPath value || value ? outPath || value ? __toString;
    optionalString = condition: text: if condition then text else "";
    removePrefix =
      prefix: text:
      if lib.hasPrefix prefix text then lib.substring (lib.stringLength prefix) (-1) text else text;
    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then
        lib.substring 0 (lib.stringLength text - lib.stringLength suffix) text
      else
        text;
    splitString =
      separator: text:
      lib.filter lib.isString (builtins.split (lib.escapeRegex separator) text);
    escapeRegex =
      let
        special = [
          "\\"
          "["
          "{"
          "("
          "^"
          "$"
          "?"
          "*"
          "+"
          "|"
          "."
        ];
      in
      lib.replaceStrings special (map (one: "\\" + one) special);
    toInt = text: builtins.fromJSON text;
    trim = text: builtins.head (lib.match "[ \t\r\n]*(.*[^ \t\r\n]|)[ \t\r\n]*" text);

    ## Packages

    getExe =
      package:
      lib.getExe' package (
        package.meta.mainProgram
          or (throw "getExe: ${package.name} does not say in meta.mainProgram which program it is")
      );
    getExe' = package: program: "${package}/bin/${program}";
    isStorePath = value: lib.isStringLike value && lib.match "/nix/store/[^/]+" (toString value) != null;
    isDerivation = value: value.type or null == "derivation";
    importTOML = path: builtins.fromTOML (lib.readFile path);
    licenses.asl20 = {
      spdxId = "Apache-2.0";
    };
    platforms.linux = [
      "aarch64-linux"
      "x86_64-linux"
    ];
    sourceTypes.fromSource = {
      shortName = "fromSource";
      isSource = true;
    };

    # No union is made here: that there is something at each path is what can be checked.
    fileset = {
      unions = paths: map (path: if builtins.pathExists path then path else throw "there is no ${toString path}") paths;
      toSource = { root, fileset }: builtins.deepSeq (map toString fileset) root;
    };

    ## Functions and errors

    boolToString = value: if value then "true" else "false";
    assertMsg = condition: message: condition || throw message;
    id = value: value;

    types = import ./types.nix lib;
  }
  // import ./modules.nix lib
  // import ./options.nix lib;
in
lib
