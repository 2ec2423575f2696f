"""A real SMTP server that keeps each mail in a file, and fails as the file `mode` says: later, refuse, slow, vanish."""

import asyncio
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

folder, port, cert, login = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        mode = (folder / "mode").read_text().strip() if (folder / "mode").exists() else ""
        (folder / "begun").write_text("x")
        if mode == "later":
            return "451 4.3.0 try again\tlater"
        if mode == "refuse":
            return "550 5.7.1 not wanted here"
        if mode == "slow":
            await asyncio.sleep(3600)
        Keep.count += 1
        number = f"{os.getpid()}-{Keep.count:04}"
        whole = f"X-Envelope-To: {','.join(envelope.rcpt_tos)}\r\n".encode() + envelope.content
        (folder / f"{number}.part").write_bytes(whole)
        (folder / f"{number}.part").rename(folder / f"{number}.eml")
        if mode == "vanish":
            server.transport.abort()
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    given = f"{data.login.decode()}:{data.password.decode()}"
    return AuthResult(success=given == login, handled=given == login)


async def main():
    options = {"hostname": "test"}
    if cert != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
        options.update(tls_context=context, require_starttls=True)
    if login != "-":
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=cert != "-")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep(), loop=loop, **options), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
