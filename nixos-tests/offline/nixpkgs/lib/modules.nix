# A small evaluator of NixOS modules: imports, options, priorities, conditions, submodules, free-form settings. It
# speaks of mistakes in the words of the one in nixpkgs. Leaves out what this project has no use for: merging of two
# declarations of one option, disabledModules, renamed options, classes.
lib: rec {
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;

  # Evaluates modules to `config`, `options` and the tree of declared options.
  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      arguments = {
        inherit lib options;
        config = values;
      }
      // specialArgs;

      # `_module.args` of the modules themselves serve the arguments that are not known beforehand, such as `pkgs`.
      call =
        module:
        if lib.isFunction module then
          module (
            arguments
            // lib.mapAttrs (name: _: arguments.${name} or values._module.args.${name}) (lib.functionArgs module)
          )
        else
          module;

      collected = collect call "<unknown-file>" ([ internal ] ++ modules);
      freeform = lib.head (lib.concatMap (module: module.freeform) collected ++ [ null ]);

      declared = lib.foldl' (mergeDeclarations prefix) { } (
        map (module: noteFile module.file module.options) collected
      );
      evaluated = evaluateTree prefix declared (
        map (module: {
          inherit (module) file;
          value = module.config;
        }) collected
      );
      values =
        if freeform == null then
          evaluated.values
        else
          lib.recursiveUpdate
            (freeform.merge prefix (
              map (one: {
                inherit (one) file;
                value = lib.setAttrByPath (lib.removeAttrsPrefix prefix one.path) one.value;
              }) evaluated.unmatched
            ))
            evaluated.values;
      options = evaluated.options;

      checked =
        result:
        if freeform != null || evaluated.unmatched == [ ] then
          result
        else
          let
            first = lib.head evaluated.unmatched;
          in
          throw "The option `${lib.showOption first.path}' does not exist. ${lib.showDefinitions [ first ]}";
    in
    {
      config = checked (lib.removeAttrs values [ "_module" ]);
      options = checked options;
    };

  internal.options._module.args = lib.mkOption {
    type = lib.types.lazyAttrsOf lib.types.raw;
    default = { };
    internal = true;
  };

  # Every module, with those that it imports, once.
  collect =
    call: parent: modules:
    let
      one =
        module:
        let
          isFile = lib.isPath module || lib.isString module;
          file = if isFile then toString module else parent;
          loaded = structure file (call (if isFile then import module else module));
        in
        [ (loaded // { key = if isFile then file else loaded.key; }) ] ++ collect call loaded.file loaded.imports;
      once =
        found: module:
        if module.key != null && lib.any (other: other.key == module.key) found then
          found
        else
          found ++ [ module ];
    in
    lib.foldl' once [ ] (lib.concatMap one modules);

  structure =
    file: module:
    let
      known = [
        "_file"
        "config"
        "freeformType"
        "imports"
        "key"
        "meta"
        "options"
      ];
      isStructured = module ? config || module ? options;
      unknown = lib.attrNames (lib.removeAttrs module known);
    in
    if !lib.isAttrs module then
      throw "The module `${file}' is neither a set nor a function."
    else if isStructured && unknown != [ ] then
      throw "Module `${file}' has an unsupported attribute `${lib.head unknown}'. This is caused by introducing a top-level `config' or `options' attribute."
    else
      {
        file = module._file or file;
        key = module.key or null;
        imports = module.imports or [ ];
        options = module.options or { };
        freeform = lib.optional (module.freeformType or null != null) module.freeformType;
        config = if isStructured then module.config or { } else lib.removeAttrs module known;
      };

  isOption = node: node._type or null == "option";

  noteFile =
    file:
    lib.mapAttrs (
      _: node: if isOption node then node // { declarations = [ file ]; } else noteFile file node
    );

  mergeDeclarations =
    path: a: b:
    a
    // lib.mapAttrs (
      name: node:
      let
        here = path ++ [ name ];
        other = a.${name};
      in
      if !(a ? ${name}) then
        node
      else if isOption node || isOption other then
        throw "The option `${lib.showOption here}' is already declared."
      else
        mergeDeclarations here other node
    ) b;

  # Definitions with their conditions and priorities moved from sets to what is in them.
  pushDown =
    value:
    if value._type or null == "merge" then
      lib.concatMap pushDown value.contents
    else if value._type or null == "if" then
      map (lib.mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if value._type or null == "override" then
      map (lib.mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  pushDownAll =
    path: definitions:
    lib.concatMap (
      definition:
      map (
        value:
        if lib.isAttrs value then
          {
            inherit (definition) file;
            inherit value;
          }
        else
          throw "A definition for option `${lib.showOption path}' is not of type `attribute set'. ${
            lib.showDefinitions [ definition ]
          }"
      ) (pushDown definition.value)
    ) definitions;

  named =
    name: definitions:
    lib.concatMap (
      definition:
      lib.optional (definition.value ? ${name}) {
        inherit (definition) file;
        value = definition.value.${name};
      }
    ) definitions;

  evaluateTree =
    path: tree: definitions:
    let
      pushed = pushDownAll path definitions;
      evaluate =
        name: node:
        let
          here = path ++ [ name ];
          mine = named name pushed;
        in
        if isOption node then evaluateOption here node mine else evaluateTree here node mine;
      nodes = lib.mapAttrs evaluate tree;
      strangers =
        definition:
        map (name: {
          inherit (definition) file;
          path = path ++ [ name ];
          value = definition.value.${name};
        }) (lib.filter (name: !(tree ? ${name})) (lib.attrNames definition.value));
    in
    {
      values = lib.mapAttrs (_: node: node.values) nodes;
      options = lib.mapAttrs (_: node: node.options) nodes;
      unmatched =
        lib.concatMap strangers pushed ++ lib.concatMap (node: node.unmatched) (lib.attrValues nodes);
    };

  evaluateOption =
    path: option: definitions:
    let
      default = lib.optional (option ? default) {
        file = "its default";
        value = mkOptionDefault option.default;
      };
      merged = mergeDefinitions path (option.type or lib.types.unspecified) (definitions ++ default);
      inherit (merged) value;
    in
    {
      values = if option ? apply then option.apply value else value;
      options = option // {
        inherit value;
        inherit (merged) isDefined;
        loc = path;
      };
      unmatched = [ ];
    };

  # The definitions that count, merged as their type does it.
  mergeDefinitions =
    path: type: definitions:
    let
      discharge =
        value:
        if value._type or null == "merge" then
          lib.concatMap discharge value.contents
        else if value._type or null == "if" then
          if value.condition then discharge value.content else [ ]
        else
          [ value ];
      strip = value: if value._type or null == "override" then value.content else value;
      priority = one: if one.value._type or null == "override" then one.value.priority else 100;
      order = one: if one.value._type or null == "order" then one.value.priority else 1000;

      discharged = lib.concatMap (
        one:
        map (value: {
          inherit (one) file;
          inherit value;
        }) (discharge one.value)
      ) definitions;
      strongest = lib.foldl' (least: one: if priority one < least then priority one else least) 9999 discharged;
      counting = map (one: one // { value = strip one.value; }) (
        lib.filter (one: priority one == strongest) discharged
      );
      ordered = map (
        one: if one.value._type or null == "order" then one // { value = one.value.content; } else one
      ) (lib.sort (a: b: order a < order b) counting);
      wrong = lib.filter (one: !type.check one.value) ordered;
    in
    if ordered == [ ] then
      {
        isDefined = false;
        value = throw "The option `${lib.showOption path}' was accessed but has no value defined. Try setting the option.";
      }
    else
      {
        isDefined = true;
        value =
          if wrong == [ ] then
            type.merge path ordered
          else
            throw "A definition for option `${lib.showOption path}' is not of type `${type.description}'. ${lib.showDefinitions wrong}";
      };
}
