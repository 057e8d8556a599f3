"""What acceptance is compared with: litestar on uvicorn, an endpoint that parses the same body and does nothing."""

import sys

import uvicorn
from litestar import Litestar, post

from router.api.gatewire.schemas import Reference, SendOtp


@post("/api/v1/send-otp", status_code=200)
async def send_otp(data: SendOtp) -> Reference:
    """Answers what the real one answers, without doing it."""
    return Reference(data.phone, "pending")


app = Litestar([send_otp], logging_config=None)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False)
