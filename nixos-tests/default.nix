{ self, pkgs }: { }
