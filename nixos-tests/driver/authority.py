"""Certificates for machines that are asked over TLS: an authority that lives as long as the run."""

import base64
import os
import subprocess


def base64_of(text):
    """As kubeconfigs carry certificates."""
    return base64.b64encode(text.encode()).decode()


class Authority:
    """An authority and certificates for some names."""

    def __init__(self, folder, names):
        self.folder = os.path.join(folder, "authority")
        os.makedirs(self.folder, exist_ok=True)
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
        for name in names:
            self._openssl(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-addext", f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1",
                "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
            )  # fmt: skip
        self.certificate = self._read("ca.crt")

    def chain(self, name):
        """A name's certificate and the authority's."""
        return self._read(f"{name}.crt") + self.certificate

    def key(self, name):
        """A name's private key."""
        return self._read(f"{name}.key")

    def _read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()

    def _openssl(self, *words):
        done = subprocess.run(
            ["openssl", *words], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"openssl {words[0]}: {done.stderr.strip()}")
